"""Private keys and rail credentials under envelope encryption, and the signer that opens them."""
