"""The whole story on the embedded base: learn one concept with and without TextReg, and look."""

from textreg.demo.story import demo

__all__ = ["demo"]
