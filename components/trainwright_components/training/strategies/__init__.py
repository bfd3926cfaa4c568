"""Which strategy a training runs under, and what the less usual ones need."""
