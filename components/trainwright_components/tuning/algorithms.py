"""The tuning algorithms by name. A suggester is imported when a study uses it."""

ALGORITHMS = {
    "TPE": "trainwright_components.tuning.suggesters.tree_parzen:TreeParzen",
    "RANDOM_SEARCH": "trainwright_components.tuning.suggesters.random_search:RandomSearch",
    "GRID_SEARCH": "trainwright_components.tuning.suggesters.grid_search:GridSearch",
}
DEFAULT_ALGORITHM = "TPE"
ALIASES = {"ALGORITHM_UNSPECIFIED": DEFAULT_ALGORITHM, "RANDOM": "RANDOM_SEARCH", "GRID": "GRID_SEARCH"}
