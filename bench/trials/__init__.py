"""One file a promise: each tries it on real servers and notes how often it was kept."""
