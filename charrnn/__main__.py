"""`python -m charrnn` is the same program as the command `charrnn`."""

from charrnn.cli.main import main

if __name__ == "__main__":
    main()
