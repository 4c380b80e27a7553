"""The application: connects the stages, with one function per verb."""
