"""Plans: which scheme to run on a given cluster, from virtual timings of all of them."""
