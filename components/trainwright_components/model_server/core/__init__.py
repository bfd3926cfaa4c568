"""One core: a configuration in effect, requests resolved to versions, and what is asked of them or about them."""
