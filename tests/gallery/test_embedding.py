"""JSON that stays within its script element."""

import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from venice_batch.gallery.embedding import script_json

hostile = st.lists(
    st.one_of(
        st.sampled_from(
            ["</script", ">", "<!--", "<script", "]]>", "\u2028", "\u2029", "\u202e", "&lt;", "\\", '"', "\0"]
        ),
        st.text(max_size=5),
    )
).map("".join)


class Scripts(HTMLParser):
    """What a browser takes for the contents of script elements."""

    def __init__(self):
        super().__init__()
        self.tags = []
        self.texts = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


@given(st.recursive(hostile, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3)))
def test_whatever_strings_hold_the_element_ends_where_it_should(value):
    text = script_json(value)
    assert not set("<>&\u2028\u2029") & set(text)
    seen = Scripts()
    seen.feed(f'<script type="application/json">{text}</script><p>after</p>')
    assert seen.tags == ["script", "p"]
    assert json.loads(seen.texts[0]) == value


def test_it_is_not_escaped_again_in_a_template():
    import jinja2

    template = jinja2.Environment(autoescape=True).from_string("{{ value }}")
    assert template.render(value=script_json({"a": '<"'})) == '{"a":"\\u003c\\""}'
