"""Ways to an answer: chain of thought, programs, tools, votes."""
