"""Finding out whether a node ran what its receipts say."""
