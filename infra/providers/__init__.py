"""Resources that are ours: secrets, host processes, the Ray head, the Serve application, knowledge."""
