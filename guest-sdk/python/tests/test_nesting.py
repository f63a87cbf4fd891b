"""JSON that is nested too deeply for a component's stack."""

import json
import unittest

from waterspout import _nesting


class Nesting(unittest.TestCase):
    def test_json_may_be_nested_so_deeply_and_not_a_level_more(self):
        for opening, closing in [("[", "]"), ('{"a":', "}")]:
            deepest = opening * _nesting.DEEPEST + "1" * (opening != "[") + closing * _nesting.DEEPEST
            json.loads(deepest)
            with self.assertRaises(RecursionError):
                json.loads(f"{opening}{deepest}{closing}")

    def test_what_is_long_and_not_deep_is_read_and_brackets_in_strings_are_text(self):
        many = [{"text": "[{" * 100, "quote": '"[', "slash": "\\"}] * 1000
        self.assertEqual(json.loads(json.dumps(many)), many)

    def test_a_text_that_is_no_json_is_looked_through_once(self):
        hostile = "[" * (_nesting.DEEPEST + 1)
        for start in ["]" * 1000, '"', '\\"' * 100_000, '"' + '\\"' * 100_000]:
            with self.assertRaises((ValueError, RecursionError)):
                json.loads(start + hostile)


if __name__ == "__main__":
    unittest.main()
