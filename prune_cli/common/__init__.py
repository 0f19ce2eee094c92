"""What every room may use: errors, named random generators, devices, the registry and the terminal."""
