"""What `make check` asks of the code beyond format, lint and types: migrations, the contract, documents that are made from code."""
