"""The panel of series: settings, periods, gaps. Imports what families.forecast may."""
