"""HTTP concerns that both APIs share: paths, bodies, responses, errors, and traces."""
