// What the page uses of Temml: the tree from which it would make markup.

declare module "temml/temml.js" {
  /** An element of MathML or HTML, a text, or a fragment of neither type nor attributes. */
  export interface TreeNode {
    type?: string;
    text?: string;
    href?: string;
    attributes?: Record<string, string | number | boolean>;
    classes?: string[];
    children?: TreeNode[];
  }

  interface Options {
    displayMode: boolean;
    throwOnError: boolean;
    trust: boolean;
    maxExpand: number;
    /** In em and in pt. */
    maxSize: [number, number];
  }

  const temml: { __renderToMathMLTree(tex: string, options: Options): TreeNode };
  export default temml;
}
