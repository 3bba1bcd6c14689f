"""report.html: the whole report in one file that opens offline."""
