"""The web page: what it is sent, who may ask for it, and where its bundle is."""
