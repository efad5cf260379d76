"""Processes of the service killed, stopped and robbed of their servers: every mail is accounted for afterwards."""
