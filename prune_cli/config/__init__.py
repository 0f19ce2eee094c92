"""From the words of the command line to typed, complete settings. Knows no part of the program by name."""
