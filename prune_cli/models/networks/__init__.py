"""The modules of models that are this project's own: apart from their options, because a module's class needs torch."""
