"""The original's two command lines, word for word (FORMATS 8 and 9)."""
