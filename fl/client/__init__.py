"""Client daemons: they hold the data, train, and answer."""
