from maibench.cli import main

main()
