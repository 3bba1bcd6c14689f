"""What `new-detector` writes, under another name: a detector that works, and its test."""
