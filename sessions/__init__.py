"""What is kept: run folders, sessions, where files live, batch runs, verifying and exporting.

Stands on `engine`; knows nothing of terminals. Importing it imports no torch.
"""
