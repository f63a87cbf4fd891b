"""How a component that is being built tells whoever builds it why it cannot be."""

BEGIN, END = "\x02waterspout:", "\x03"
"""Around what is told; the builder's tool says much more."""

EXCEPTION, MISTAKE = "exception", "mistake"
"""The first line: Python's own words follow, or ours."""
