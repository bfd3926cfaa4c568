"""The compiled pipeline spec as typed objects, and the expressions and values inside it."""
