"""The commands of taskctl: `NAME_` is the module of the command NAME, which stands in it as `command`."""
