"""What is shown: the command line and the terminal app. Stands on `sessions` and `engine`; imports no torch."""
