"""Five documents about one invented subject, the cable car of Halmere, apart from the format they are written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.unit.retrieval.tables.documents import Known


@dataclass(frozen=True, slots=True)
class Section:
    """What stands below a heading: paragraphs, then a table; `ruled` says whether its cells have borders in print."""

    heading: str
    paragraphs: Sequence[str]
    table: Known | None = None
    ruled: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """A document: its name without extension, its title and its sections."""

    name: str
    title: str
    sections: Sequence[Section] = field(default=())

    @property
    def tables(self) -> list[Known]:
        return [section.table for section in self.sections if section.table is not None]


RULES = Source(
    "operating-rules",
    "Operating Rules of the Halmere Cable Car",
    [
        Section(
            "The line",
            [
                "The cable car leads from the shore of Lake Halm to the summit of the Greyhorn in three sections. "
                "Cabins hang on a carrying rope and are pulled by a haul rope, which the motor at Birchwood drives. "
                "Passengers may leave a cabin at every station, and a ticket stays valid for the rest of the way.",
                "Each station is led by one person, who answers for its platforms, doors and fire extinguishers and "
                "keeps the station's book. The book is shown to the inspectorate whenever it asks.",
            ],
            Known(
                ["Station", "Altitude", "Platforms", "Stationmaster"],
                [
                    ["Lakeside", "412 m", "3", "Iris Vanderholt"],
                    ["Birchwood", "968 m", "2", "Pavel Oduya"],
                    ["Crag Hut", "1,547 m", "1", "Hanne Lindqvist"],
                    ["Summit", "2,203 m", "4", "Tomas Brightwater"],
                ],
            ),
        ),
        Section(
            "Wind",
            [
                "Anemometers on the towers 4, 11 and 17 measure gusts every second. The highest of the three values "
                "of the last two minutes decides. When the wind drops, ten minutes must pass before the line runs "
                "faster again, and the change is written into the log with the name of whoever ordered it.",
            ],
            Known(
                ["Gusts", "Cabin speed", "Cabins on the line", "Ordered by"],
                [
                    ["below 40 km/h", "7.0 m/s", "26", "shift leader"],
                    ["40 to 55 km/h", "5.5 m/s", "18", "shift leader"],
                    ["55 to 70 km/h", "3.2 m/s", "9", "operations manager"],
                    ["above 70 km/h", "line closed", "none", "operations manager"],
                ],
            ),
            ruled=False,
        ),
        Section(
            "Evacuation",
            [
                "If the drive fails and the emergency diesel does not start within 25 minutes, passengers are lowered "
                "to the ground. The rescue team of the valley is alarmed by the control room. Each cabin has a bag "
                "with a rope of 120 metres, two harnesses and a lamp under the left bench.",
                "Cabins above the gorge between towers 12 and 14 cannot be evacuated by rope. They are brought to the "
                "next station with the rescue carriage, which stands at Crag Hut with a full tank.",
            ],
        ),
        Section(
            "Radio",
            [
                "Channel 6 belongs to operations and is never used for private talk. Channel 9 is that of the rescue "
                "team. A message begins with the name of the station that is called, and ends with the word over.",
            ],
        ),
    ],
)

HANDBOOK = Source(
    "staff-handbook",
    "Handbook for Employees of the Halmere Cable Car",
    [
        Section(
            "Working hours",
            [
                "The roster is published on the twentieth of each month and may be changed for sickness and storms "
                "only. Two colleagues may swap a shift if their shift leader signs. Breaks are thirty minutes after "
                "four hours; the platform is never left without a second person.",
            ],
            Known(
                ["Shift", "Begins", "Ends", "Allowance per day"],
                [
                    ["Early", "05:30", "13:45", "12.20 crowns"],
                    ["Late", "13:15", "21:30", "18.60 crowns"],
                    ["Night", "21:00", "05:50", "41.75 crowns"],
                    ["Standby", "08:00", "20:00", "9.90 crowns"],
                ],
            ),
        ),
        Section(
            "Leave",
            [
                "Leave is agreed with the head of your department. In July and August nobody may be away for more "
                "than two weeks in a row. Days that are left over expire at the end of March.",
            ],
            Known(
                ["Years of service", "Days of leave", "To be requested", "Approved by"],
                [
                    ["up to 3", "25", "4 weeks before", "shift leader"],
                    ["4 to 9", "28", "6 weeks before", "head of department"],
                    ["10 and more", "33", "8 weeks before", "head of department"],
                ],
            ),
        ),
        Section(
            "Lost property",
            [
                "Whatever passengers forget is labelled with the date and the number of the cabin and put into the "
                "green cupboard behind the counter at Lakeside. Wallets and telephones go to the safe instead. After "
                "ninety days things are given to the charity shop in Halmere.",
            ],
        ),
        Section(
            "Clothing",
            [
                "Everybody who works outside gets a red jacket, two pairs of trousers and boots with spikes. Jackets "
                "are washed by the company; take them to the laundry in the basement of Birchwood on Tuesdays. "
                "Helmets are exchanged every five years, or at once after a blow.",
            ],
        ),
        Section(
            "Illness",
            [
                "Call the control room before your shift begins, not your colleague. From the third day a note by a "
                "doctor is needed. Wages are paid in full for the first six weeks.",
            ],
        ),
    ],
)

FARES = Source(
    "fares",
    "Fares of the Halmere Cable Car",
    [
        Section(
            "Tickets",
            ["Prices in crowns. Children are those from 6 to 15 years; younger ones ride free of charge."],
            Known(
                ["Ticket", "Adult", "Child", "Dog"],
                [
                    ["Lakeside to Birchwood, single", "11.40", "5.65", "3.15"],
                    ["Lakeside to Birchwood, return", "18.25", "9.15", "5.05"],
                    ["Lakeside to Summit, single", "22.85", "11.45", "6.25"],
                    ["Lakeside to Summit, return", "34.75", "17.35", "8.45"],
                ],
            ),
        ),
        Section(
            "Passes",
            ["Passes are personal and cannot be lent. A lost pass is replaced for a fee of six crowns."],
            Known(
                ["Pass", "Price", "Days", "Sold until"],
                [
                    ["Week", "89.55", "7", "2031-10-12"],
                    ["Season", "312.65", "180", "2031-06-30"],
                    ["Year", "498.15", "365", "2031-12-20"],
                ],
            ),
        ),
        Section(
            "Reductions",
            ["One reduction applies at a time. They are given at the counter and not by machines."],
            Known(
                ["Group", "From persons", "Reduction", "Proof"],
                [
                    ["Families", "3", "15%", "none"],
                    ["School classes", "12", "35%", "letter of the school"],
                    ["Clubs", "20", "22%", "list of members"],
                    ["Residents", "1", "40%", "identity card"],
                ],
            ),
        ),
    ],
)

VISIT = Source(
    "visit",
    "Visit the Greyhorn with the Halmere Cable Car",
    [
        Section(
            "Opening times",
            [
                "Cabins leave as long as people wait, at most every four minutes. In a thunderstorm the line stops, "
                "and you are welcome to wait in the restaurant. In November the line is closed for repairs.",
            ],
            Known(
                ["Season", "First cabin up", "Last cabin down", "Open"],
                [
                    ["Spring", "08:20", "18:10", "daily except Mondays"],
                    ["Summer", "07:10", "20:35", "daily"],
                    ["Autumn", "08:50", "17:25", "Friday to Sunday"],
                    ["Winter", "09:05", "16:40", "daily except Tuesdays"],
                ],
            ),
        ),
        Section(
            "How to get here",
            ["Parking at Lakeside costs four crowns for the day. By bus you are faster, and the bus is heated."],
            Known(
                ["Bus", "From", "Minutes", "Stop"],
                [
                    ["Line 14", "Halmere railway station", "23", "Lakeside pier"],
                    ["Line 27", "Oberfeld", "41", "Old customs house"],
                    ["Line 92", "Sankt Wolf", "57", "Lakeside pier"],
                ],
            ),
        ),
        Section(
            "Barrier-free travel",
            [
                "Wheelchairs up to a width of 88 cm roll into every cabin without a step, and our staff is glad to "
                "help. At Crag Hut there is no lift, so please stay in the cabin there. A toilet with handrails is at "
                "the summit, next to the viewing terrace.",
            ],
        ),
        Section(
            "Food",
            [
                "The restaurant Eagle's Nest at the summit serves warm meals from eleven. The kiosk at Birchwood has "
                "soup and cake. You may eat your own sandwiches on the terrace, but not inside.",
            ],
        ),
        Section(
            "Walking trails",
            [
                "From the summit a marked path of two hours leads down to Crag Hut, and a steep one of five hours to "
                "the lake. Stay on the paths: chamois raise their young here. Sturdy shoes are needed even in July.",
            ],
        ),
    ],
)

MAINTENANCE = Source(
    "maintenance-plan",
    "Maintenance Plan of the Halmere Cable Car",
    [
        Section(
            "Inspections",
            [
                "Inspections are done before the first cabin leaves, by two people, one of whom signs. What is found "
                "is noted even if it is repaired at once. The inspectorate gets a copy every quarter.",
            ],
            Known(
                ["Part", "Inspected", "Method", "Responsible"],
                [
                    ["Carrying rope", "every 18 months", "magnetic coil", "Ropeworks Aldis"],
                    ["Haul rope", "every 9 weeks", "magnetic coil", "own team"],
                    ["Cabin doors", "every day", "by hand", "platform staff"],
                    ["Emergency brake", "every 5 days", "full stop with sandbags", "own team"],
                    ["Towers", "every 3 years", "drone and torque wrench", "Steelwork Marit"],
                ],
            ),
        ),
        Section(
            "Spare parts",
            [
                "Spare parts lie in the hall behind the motor house. Whoever takes one signs the list on the door and "
                "orders another on the same day.",
            ],
            Known(
                ["Spare part", "Supplier", "In stock", "Delivery time"],
                [
                    ["Roller", "Gruber and Sons", "64", "11 days"],
                    ["Door motor", "Elektra Norr", "5", "26 days"],
                    ["Grip spring", "Fedra", "38", "47 days"],
                    ["Brake lining", "Gruber and Sons", "16", "13 days"],
                ],
            ),
        ),
        Section(
            "History of faults",
            [
                "In March 2029 the line stood still for six days, because a sheave on tower 8 had cracked in the "
                "frost. Since then all sheaves are made of ductile iron. In August 2030 lightning destroyed the "
                "inverter of the motor; a second one has been kept at Birchwood ever since.",
            ],
        ),
        Section(
            "Grease and oil",
            [
                "The bearings of the drive get lithium grease each Monday. The gearbox holds 340 litres of oil, which "
                "a laboratory examines twice a year and which is changed when it has turned dark.",
            ],
        ),
        Section(
            "Snow and ice",
            [
                "Ice on the ropes is knocked off by a first cabin without passengers. Snow on the platforms is cleared "
                "by the early shift; salt is forbidden near the towers, so gravel is used.",
            ],
        ),
    ],
)

SOURCES = (RULES, HANDBOOK, FARES, VISIT, MAINTENANCE)
