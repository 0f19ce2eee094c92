"""What is measured on finished runs: numbers in, numbers out; files and pictures are made elsewhere."""
