"""How fast a payment is, against floors that are measured in the same run: `make bench`. One file for each benchmark, see __main__.py."""
