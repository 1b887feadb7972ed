"""The demo: a small trained model, its prompt node, and a script that shows what FastCache does to it."""
