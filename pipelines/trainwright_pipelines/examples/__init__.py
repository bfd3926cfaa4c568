"""Model modules that ship with the product."""
