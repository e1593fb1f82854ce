"""A bank to play with: a process of its own that speaks a Pix-shaped API and keeps its own books.

It imports nothing from the engine, so what the engine believes can be compared with what the bank booked.
"""
