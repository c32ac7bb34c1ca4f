"""Where the Model Context Protocol is spoken."""

MCP = "/mcp"
