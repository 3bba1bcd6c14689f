from maibench.datasets.twins.captioners import *
def test_p(tiny_captioner, photographs, tmp_path, texture):
    import shutil
    from safetensors.torch import load_file, save_file
    t=load_file(tiny_captioner/"model.safetensors"); print([n for n in t if 'predictions' in n])
    for b in (0,0.1,0.2,0.3,0.4,0.5):
        f=shutil.copytree(tiny_captioner,tmp_path/str(b)); t=load_file(tiny_captioner/"model.safetensors")
        for n in [n for n in t if n.endswith(("predictions.bias","predictions.decoder.bias"))]: t[n][513]+=b
        save_file(t,f/"model.safetensors",{"format":"pt"})
        s=choose_captioner(str(f)); c=load_captioner(s,find_captioner(s),"cpu")
        print(b,[c.caption(texture((120,100),i)) for i in range(3)])
