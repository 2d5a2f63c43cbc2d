"""The verbs of the chat: what routes and sockets call. They check, decide, and let storage run the SQL."""
