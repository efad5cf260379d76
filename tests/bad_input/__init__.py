"""What users get wrong besides the configuration's text: command lines, files, folders, servers; each with its line."""
