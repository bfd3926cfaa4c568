"""What looks wrong in a table, with evidence and what to do: said before anything is trained."""
