"""From numbers to tables: what they say, and how a terminal, Markdown and LaTeX write it."""
