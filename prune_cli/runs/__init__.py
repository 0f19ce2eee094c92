"""Run folders: what a run is called, when it is finished, and files that are whole or absent."""
