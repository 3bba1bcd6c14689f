"""From predictions to numbers: pure functions on arrays and frames. Needs no torch."""
