"""taskctl: the hands of the person at the terminal.

`table` lists the commands, each of which is a module of `commands` that is imported when it is typed, and only then.
They speak HTTP through `taskd.client` and nothing else. What is printed is data on standard output; what is said goes
to standard error. One thread, unless a command says otherwise.
"""
