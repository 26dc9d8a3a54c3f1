"""Before training: a first config from a table, and a look at what a model will read."""
