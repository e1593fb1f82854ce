"""What the tests share: a running stack, organisations made in it, and raw connections as each role."""
