"""Word lists for `serving.retrieval.text.words`: English, and negations in German and French."""

from __future__ import annotations

STOP_WORDS = """
a about above after again also am an and any are as at be because been before being below between both but by can
could did do does doing down during either else ever for from further get gets give given gives got had has have
having he her here hers him his how however i if in into is it its itself just like may me might more most much must
my of off on once or other our out over own per please provide provided provides receive received receives said same
say says shall she should so some such than that the their them then there these they this those through thus to too
under until up upon us use used uses using very via was we were what when where whether which while who whom why will
with would you your yes according
"""

NEGATORS = """
no not never none nothing neither nor cannot without nobody nowhere hardly
nicht nichts nie niemals niemand kein keine keinen keinem keiner keines weder ohne
ne pas jamais aucun aucune sans
"""

NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve"

OPPOSITES = """
enable/disable allow/deny allow/forbid allow/refuse accept/reject accept/refuse increase/decrease rise/fall grow/shrink
maximum/minimum max/min most/least more/less higher/lower faster/slower before/after above/below always/never
true/false on/off open/closed start/stop begin/end first/last include/exclude required/optional public/private
success/failure pass/fail add/remove upper/lower large/small larger/smaller long/short longer/shorter early/late
earlier/later all/none inside/outside with/without encrypt/decrypt hot/cold internal/external read/write
import/export synchronous/asynchronous over/under if/unless when/unless up/down keep/delete
"""

SYNONYMS = """
need/require begin/start contain/hold/include make/create/build store/save/keep show/display run/execute end/finish
remove/delete/erase allow/permit answer/reply/respond choose/pick/select find/found/locate every/each
"""

NEGATIVE_PREFIXES = ("un", "non", "dis", "in", "im", "mis", "non-")
